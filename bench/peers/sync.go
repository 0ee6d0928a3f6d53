// bench/sync.cpp with goroutines.
package main

import (
	"runtime"
	"sync"
)

var free sync.Mutex

func lockAndUnlock(count int) {
	for i := 0; i < count; i++ {
		free.Lock()
		free.Unlock()
	}
}

func contend(count, goroutines int, section func()) {
	var m sync.Mutex
	var all sync.WaitGroup
	for i := 0; i < goroutines; i++ {
		all.Go(func() {
			for k := 0; k < count/goroutines; k++ {
				m.Lock()
				section()
				m.Unlock()
			}
		})
	}
	all.Wait()
}

func pingPong(count int) {
	var m sync.Mutex
	changed := sync.NewCond(&m)
	ping := true
	play := func(mine bool) {
		for i := 0; i < count; i++ {
			m.Lock()
			for ping != mine {
				changed.Wait()
			}
			ping = !mine
			changed.Signal()
			m.Unlock()
		}
	}
	var other sync.WaitGroup
	other.Go(func() { play(false) })
	play(true)
	other.Wait()
}

func countDown(count, atATime int) {
	for i := 0; i < count; i += atATime {
		var underWay sync.WaitGroup
		for k := 0; k < atATime; k++ {
			underWay.Add(1)
			go func() { underWay.Done() }()
		}
		underWay.Wait()
	}
}

func main() {
	run(func() {
		if *workers == 1 {
			measure("mutex, free", 1000000, lockAndUnlock)
			measure("mutex, 2 fibers, held across a yield", 100000, func(n int) { contend(n, 2, runtime.Gosched) })
			measure("mutex, 8 fibers, held across a yield", 100000, func(n int) { contend(n, 8, runtime.Gosched) })
			measure("wait_group, 1 fiber", 100000, func(n int) { countDown(n, 1) })
		} else {
			counter := 0
			add := func() { counter++ }
			measure("mutex, 2 fibers", 400000, func(n int) { contend(n, 2, add) })
			measure("mutex, 8 fibers", 400000, func(n int) { contend(n, 8, add) })
		}
		measure("wait_group, 1000 fibers, each", 100000, func(n int) { countDown(n, 1000) })
		measure("condition_variable, round trip", 100000, pingPong)
	})
}
