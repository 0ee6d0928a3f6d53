// bench/select.cpp with goroutines.
package main

const readySelects = 200000

// oneReady makes channels of which the last has the values.
func oneReady(cases int) []chan int {
	all := make([]chan int, cases)
	for i := range all {
		all[i] = make(chan int)
	}
	all[cases-1] = make(chan int, readySelects*2)
	for i := 0; i < readySelects*2; i++ {
		all[cases-1] <- 1
	}
	return all
}

func roundTrips(count int) {
	there, back, never := make(chan int), make(chan int), make(chan int)
	go func() {
		for i := 0; i < count; i++ {
			select {
			case <-there:
			case <-never:
			}
			back <- 1
		}
	}()
	for i := 0; i < count; i++ {
		there <- 1
		select {
		case <-back:
		case <-never:
		}
	}
}

func main() {
	run(func() {
		measure("select of 2, round trip", 50000, roundTrips)
		if *workers > 1 {
			return
		}
		of2 := oneReady(2)
		measure("select of 2, one ready", readySelects, func(n int) {
			for i := 0; i < n; i++ {
				select {
				case <-of2[0]:
				case <-of2[1]:
				}
			}
		})
		of8 := oneReady(8)
		measure("select of 8, one ready", readySelects, func(n int) {
			for i := 0; i < n; i++ {
				select {
				case <-of8[0]:
				case <-of8[1]:
				case <-of8[2]:
				case <-of8[3]:
				case <-of8[4]:
				case <-of8[5]:
				case <-of8[6]:
				case <-of8[7]:
				}
			}
		})
	})
}
