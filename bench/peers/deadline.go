// The same changes of deadlines with Go's net package. The caller's look at the clock is taken off; the one that
// SetReadDeadline takes itself, each time, is in it.
package main

import (
	"flag"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"
)

const handles = 64
const changes = 1000000

var sink time.Time

func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func main() {
	rounds := flag.Int("rounds", 31, "")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	var all []net.Conn
	for len(all) < handles {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			panic(err)
		}
		server, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		all = append(all, client, server)
	}
	each := func(change func(c net.Conn, by time.Duration)) float64 {
		from := cpu()
		for i := 0; i < changes; i++ {
			change(all[i%handles], time.Duration(i)*time.Microsecond)
		}
		return float64(cpu()-from) / changes
	}
	sample := func(subject string, ns float64) { fmt.Printf("%s\tCPU ns\tgo\t%.4g\n", subject, ns) }
	row := func(subject string, change func(c net.Conn, by time.Duration)) { sample(subject, each(change)) }
	for r := 0; r < *rounds; r++ {
		hour := time.Now().Add(2000*time.Hour - time.Duration(r)*changes*time.Microsecond)
		delay := func(c net.Conn, by time.Duration) { c.SetReadDeadline(time.Now().Add(time.Hour)) }
		clock := each(func(net.Conn, time.Duration) { sink = time.Now() })
		sample("deadline, moved later by a delay", each(delay)-clock)
		row("deadline, moved later", func(c net.Conn, by time.Duration) { c.SetReadDeadline(hour.Add(by)) })
		row("deadline, moved earlier", func(c net.Conn, by time.Duration) { c.SetReadDeadline(hour.Add(-by)) })
		row("deadline, set and cleared", func(c net.Conn, by time.Duration) {
			c.SetReadDeadline(hour.Add(by))
			c.SetReadDeadline(time.Time{})
		})
	}
}
