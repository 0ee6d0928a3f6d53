// bench/memory.cpp with goroutines.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
)

// memory is what this process has in memory, its page tables included, in KiB.
func memory() (sum int) {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		var n int
		for _, name := range []string{"VmRSS", "VmPTE"} {
			if found, _ := fmt.Sscanf(lines.Text(), name+": %d", &n); found == 1 {
				sum += n
			}
		}
	}
	return sum
}

func main() {
	count := 0
	if len(os.Args) == 2 {
		count, _ = strconv.Atoi(os.Args[1])
	}
	if count <= 0 {
		fmt.Fprintln(os.Stderr, "usage: memory_go GOROUTINES")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	before := memory()
	begin := make(chan struct{})
	var all sync.WaitGroup
	for range count {
		all.Go(func() { <-begin })
	}
	runtime.Gosched()
	fmt.Printf("parked, %d fibers\tbytes\tgo\t%.4g\n", count, float64(memory()-before)*1024/float64(count))
	close(begin)
	all.Wait()
}
