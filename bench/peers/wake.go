// bench/wake.cpp with a goroutine that has a thread to itself, and one that doesn't.
package main

import "runtime"

func threadAndGoroutine(count int) {
	there, back := make(chan struct{}, 1), make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		for range count {
			there <- struct{}{}
			<-back
		}
		close(ended)
	}()
	for range count {
		<-there
		back <- struct{}{}
	}
	<-ended
}

func main() {
	run(func() { measure("woken by a thread, and back", 10000, threadAndGoroutine) })
}
