package serial

import "time"

// Backoff is how long something on a line that has failed so many times in a row is left alone: 1, 2,
// 5, 10 and then 30 s. A dead machine costs its time-out whenever it is asked, so the living would pay
// for one that is asked as often as they are. Whoever owns the retry keeps the count.
func Backoff(failures int) time.Duration {
	pauses := [...]time.Duration{1, 2, 5, 10, 30}
	return pauses[min(max(failures, 1), len(pauses))-1] * time.Second
}
