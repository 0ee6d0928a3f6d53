// The same changes of deadlines with Go's net package. The caller's look at the clock is taken off; the one that
// SetReadDeadline takes itself, each time, is in it.
package main

import (
	"net"
	"time"
)

const handles = 64
const changes = 1000000

var all []net.Conn
var now time.Time

func connect() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
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
}

func each(change func(c net.Conn, by time.Duration)) float64 {
	from := cpu()
	for i := 0; i < changes; i++ {
		change(all[i%handles], time.Duration(i)*time.Microsecond)
	}
	return float64(cpu()-from) / changes
}

func main() {
	connect()
	hour := time.Now().Add(2000 * time.Hour)
	row := func(subject string, change func(c net.Conn, by time.Duration)) {
		sample(subject, "CPU ns", each(change))
	}
	run(func() {
		hour = hour.Add(-changes * time.Microsecond) // ever earlier, in later rounds too
		delay := func(c net.Conn, by time.Duration) { c.SetReadDeadline(time.Now().Add(time.Hour)) }
		clock := each(func(net.Conn, time.Duration) { now = time.Now() })
		sample("deadline, moved later by a delay", "CPU ns", each(delay)-clock)
		row("deadline, moved later", func(c net.Conn, by time.Duration) { c.SetReadDeadline(hour.Add(by)) })
		row("deadline, moved earlier", func(c net.Conn, by time.Duration) { c.SetReadDeadline(hour.Add(-by)) })
		row("deadline, set and cleared", func(c net.Conn, by time.Duration) {
			c.SetReadDeadline(hour.Add(by))
			c.SetReadDeadline(time.Time{})
		})
	})
}
