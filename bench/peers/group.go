// bench/group.cpp with what golang.org/x/sync/errgroup is made of: a WaitGroup, and a context to stop the others by.
package main

import (
	"context"
	"sync"
)

func runGroups(count int) {
	const tasks = 1000
	for i := 0; i < count; i += tasks {
		var group sync.WaitGroup
		_, cancel := context.WithCancel(context.Background())
		for k := 0; k < tasks; k++ {
			group.Go(func() {})
		}
		group.Wait()
		cancel()
	}
}

func main() {
	run(func() { measure("task_group of 1000, each", 100000, runGroups) })
}
