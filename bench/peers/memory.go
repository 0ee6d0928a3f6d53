// bench/memory.cpp with goroutines, which have no guards: their stacks grow. What is left of smaller ones counts as theirs only
// as far as the collector has not given it back.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// kilobytesOf reads a line of /proc/self/status.
func kilobytesOf(key string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
			value, _ := strconv.ParseFloat(fields[1], 64)
			return value
		}
	}
	return 0
}

func main() {
	run(func() {
		open := make(chan struct{})
		var ended sync.WaitGroup
		parked := 0
		resident, tables := kilobytesOf("VmRSS:"), kilobytesOf("VmPTE:")
		for _, n := range []int{10000, 100000, 1000000} {
			var begun sync.WaitGroup
			begun.Add(n - parked)
			for ; parked < n; parked++ {
				ended.Add(1)
				go func() {
					begun.Done()
					<-open
					ended.Done()
				}()
			}
			begun.Wait()
			subject := fmt.Sprintf("parked fiber, %d", n)
			sample(subject, "resident B", (kilobytesOf("VmRSS:")-resident)*1024/float64(n))
			sample(subject, "page tables B", (kilobytesOf("VmPTE:")-tables)*1024/float64(n))
		}
		close(open)
		ended.Wait()
	})
}
