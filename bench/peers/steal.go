// bench/steal.cpp with goroutines.
package main

import (
	"sync"
	"time"
)

//go:noinline
func step(x uint32) uint32 { return x*1664525 + 1013904223 }

// About 1 us.
func compute() (x uint32) {
	for range 1000 {
		x = step(x)
	}
	return x
}

func fanOut(count, atATime int) {
	for i := 0; i < count; i += atATime {
		var underWay sync.WaitGroup
		for range atATime {
			underWay.Go(func() { compute() })
		}
		underWay.Wait()
	}
}

func plain(count, _ int) {
	for range count {
		compute()
	}
}

func wallOf(count int, f func(count, atATime int), atATime int) float64 {
	f(count/10, atATime)
	begin := time.Now()
	f(count, atATime)
	return float64(time.Since(begin).Nanoseconds())
}

func compare(subject string, count, atATime int) {
	alone := wallOf(count, plain, 1)
	sample(subject, "times the ideal", wallOf(count, fanOut, atATime)/(alone/float64(*workers)))
}

func main() {
	run(func() {
		compare("work started in one place, 16 at a time, two workers", 16000, 16)
		compare("work started in one place, 1000 at a time, two workers", 20000, 1000)
	})
}
