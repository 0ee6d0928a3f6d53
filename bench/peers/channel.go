// bench/channel.cpp with goroutines.
package main

import "sync"

func roundTrips(count int) {
	there, back := make(chan int), make(chan int)
	ended := make(chan struct{})
	go func() {
		for value := range there {
			back <- value
		}
		close(ended)
	}()
	for i := 0; i < count; i++ {
		there <- 1
		<-back
	}
	close(there)
	<-ended
}

func pass(count, onEachSide int) {
	through := make(chan int, 64)
	var senders, receivers sync.WaitGroup
	for i := 0; i < onEachSide; i++ {
		receivers.Go(func() {
			for range through {
			}
		})
		senders.Go(func() {
			for k := 0; k < count/onEachSide; k++ {
				through <- 1
			}
		})
	}
	senders.Wait()
	close(through)
	receivers.Wait()
}

func main() {
	run(func() {
		measure("channel, unbuffered, round trip", 100000, roundTrips)
		measure("channel of 64, 1 to 1", 400000, func(n int) { pass(n, 1) })
		measure("channel of 64, 4 to 4", 400000, func(n int) { pass(n, 4) })
	})
}
