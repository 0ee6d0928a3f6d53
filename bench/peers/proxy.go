// The proxy as one writes it with Go's net package: two goroutines a connection, io.Copy (which splices) in each.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
)

func pass(to, from *net.TCPConn) {
	io.Copy(to, from)
	to.CloseWrite()
}

func relay(client *net.TCPConn, target string) {
	defer client.Close()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		pass(client, server)
		close(done)
	}()
	pass(server, client)
	<-done
}

func main() {
	address := flag.String("listen", "127.0.0.1:0", "`HOST:PORT`; port 0 takes a free one")
	target := flag.String("connect", "", "`HOST:PORT` to relay to")
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
		go relay(conn.(*net.TCPConn), *target)
	}
}
