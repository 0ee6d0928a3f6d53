// bench/time.cpp with goroutines.
package main

import (
	"context"
	"sync"
	"time"
)

const batch = 1000
const apart = 4 * time.Millisecond

func sleepTogether(count int) {
	begin := time.Now().Add(apart)
	var all sync.WaitGroup
	for i := 0; i < batch; i++ {
		all.Go(func() {
			for k := 0; k < count/batch; k++ {
				time.Sleep(time.Until(begin.Add(time.Duration(k) * apart)))
			}
		})
	}
	all.Wait()
}

func waitForTimers(count int) {
	for i := 0; i < count; i += batch {
		var all [batch]*time.Timer
		due := time.Now().Add(apart)
		for k := range all {
			all[k] = time.NewTimer(time.Until(due))
		}
		for _, each := range all {
			<-each.C
		}
	}
}

func main() {
	run(func() {
		measure("timer, made and stopped", 100000, func(n int) {
			for i := 0; i < n; i++ {
				time.NewTimer(time.Hour).Stop()
			}
		})
		measure("delayed call, prevented", 20000, func(n int) {
			for i := 0; i < n; i++ {
				time.AfterFunc(time.Hour, func() {}).Stop()
			}
		})
		measure("timeout, left in time", 100000, func(n int) {
			for i := 0; i < n; i++ {
				_, cancel := context.WithTimeout(context.Background(), time.Hour)
				cancel()
			}
		})
		measure("sleep, 1000 until one time, each", 10000, sleepTogether)
		measure("timer, 1000 due at one time, each", 10000, waitForTimers)
	})
}
