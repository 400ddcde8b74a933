package bench

var Send = send
