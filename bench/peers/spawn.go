// bench/spawn.cpp with goroutines. What joins them is a WaitGroup.
package main

import "sync"

func spawnBatches(count, batch int) {
	for i := 0; i < count; i += batch {
		var all sync.WaitGroup
		for range batch {
			all.Go(func() {})
		}
		all.Wait()
	}
}

func main() {
	run(func() {
		measure("spawn, run, join", 100000, func(n int) { spawnBatches(n, 1) })
		measure("spawn, run, join, 100 at a time", 100000, func(n int) { spawnBatches(n, 100) })
	})
}
