// bench/yield.cpp with goroutines.
package main

import (
	"runtime"
	"sync"
)

// yieldOn times the yields alone: by then every goroutine has a stack and stands at the start.
func yieldOn(subject string, goroutines, yields int) {
	begin := make(chan struct{})
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			<-begin
			for range yields / goroutines {
				runtime.Gosched()
			}
		})
	}
	runtime.Gosched()
	measureOnce(subject, yields, func(int) {
		close(begin)
		all.Wait()
	})
}

func main() {
	run(func() {
		yieldOn("yield, 2 fibers", 2, 500000)
		yieldOn("yield, 100 fibers", 100, 500000)
		yieldOn("yield, 1000 fibers", 1000, 500000)
		yieldOn("yield, 10000 fibers", 10000, 500000)
		yieldOn("yield, 100000 fibers", 100000, 2000000)
	})
}
