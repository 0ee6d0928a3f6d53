// What the Go programs have in common: they measure as bench/samples.hpp does, and write the same lines.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"syscall"
	"time"
)

var rounds = flag.Int("rounds", 31, "how often everything is measured")
var workers = flag.Int("workers", 1, "GOMAXPROCS")

// run calls round as often as it was told to.
func run(round func()) {
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	for i := 0; i < *rounds; i++ {
		round()
	}
}

func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func sample(subject, metric string, value float64) {
	fmt.Printf("%s\t%s\tgo\t%.4g\n", subject, metric, value)
}

// measure has f do a thing count times, after a tenth of that to warm up.
func measure(subject string, count int, f func(count int)) {
	f(count / 10)
	measureOnce(subject, count, f)
}

// measureOnce is that without the warming up, for what can be done only once.
func measureOnce(subject string, count int, f func(count int)) {
	begin, from := time.Now(), cpu()
	f(count)
	used, passed := float64(cpu()-from), float64(time.Since(begin).Nanoseconds())
	switch {
	case *workers == 2:
		subject += ", two workers"
	case *workers > 2:
		subject += fmt.Sprintf(", %d workers", *workers)
	}
	sample(subject, "CPU ns", used/float64(count))
	if *workers > 1 {
		sample(subject, "wall ns", passed/float64(count))
	}
}
