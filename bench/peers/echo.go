// The echo server as one writes it with Go's net package: a goroutine for each connection, plain Read and Write.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
)

var slow = flag.Bool("slow", false, "a request that begins with 'w' waits 10 ms, one with 'c' computes 10 ms")

func handleSlowly(kind byte) {
	const slowTime = 10 * time.Millisecond
	switch kind {
	case 'c':
		for until := time.Now().Add(slowTime); time.Now().Before(until); {
		}
	case 'w':
		time.Sleep(slowTime)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 16*1024)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if *slow {
				handleSlowly(buffer[0])
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "`HOST:PORT`; port 0 takes a free one")
	workers := flag.Int("workers", 1, "GOMAXPROCS")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go echo(conn)
	}
}
