// What of bench/inherited.cpp a context does: it has no goroutine of its own, so its values are found in the same way
// wherever they were bound.
package main

import "context"

type key int

const (
	user key = iota
	request
	trace
)

var sink int

func main() {
	run(func() {
		bound := context.WithValue(context.Background(), user, 1)
		bound = context.WithValue(bound, request, 2)
		bound = context.WithValue(bound, trace, 3)
		read := func(n int) {
			for i := 0; i < n; i++ {
				sink = bound.Value(user).(int)
			}
		}
		measure("inherited value, bound third", 1000000, read)
		measure("inherited value, third of the starter's", 1000000, read)
	})
}
