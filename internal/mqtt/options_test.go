package mqtt_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"steelyard/internal/mqtt"
)

func TestCheck(t *testing.T) {
	good := mqtt.Options{URL: "tcp://broker:1883", Client: "edge"}
	if err := mqtt.Check(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for _, c := range []struct {
		name string
		edit func(*mqtt.Options)
		want string
	}{
		{"scheme", func(o *mqtt.Options) { o.URL = "ws://broker" }, `scheme "ws"`},
		{"no host", func(o *mqtt.Options) { o.URL = "broker:1883" }, "use tcp://"},
		{"empty", func(o *mqtt.Options) { o.URL = "" }, "use tcp://"},
		{"path", func(o *mqtt.Options) { o.URL = "tcp://broker/a" }, "nothing may follow"},
		{"credentials", func(o *mqtt.Options) { o.URL = "tcp://me:hidden@broker" }, "use username and password"},
		{"client", func(o *mqtt.Options) { o.Client = "" }, "client id"},
		{"password alone", func(o *mqtt.Options) { o.Password = "hidden" }, "without a username"},
		{"keep-alive", func(o *mqtt.Options) { o.KeepAlive = time.Millisecond }, "keep-alive"},
		{"time-out", func(o *mqtt.Options) { o.WriteTimeout = -1 }, "write time-out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.edit(&o)
			err := mqtt.Check(o)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %v, want it to say %q and no password", err, c.want)
			}
			if err := mqtt.Run(t.Context(), o, nil); err == nil {
				t.Error("Run starts with these options")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		o    mqtt.Options
		want int
	}{
		{mqtt.Options{URL: "tcp://127.0.0.1:1883", Password: "p"}, 0},
		{mqtt.Options{URL: "tcp://localhost:1883", Password: "p"}, 0},
		{mqtt.Options{URL: "ssl://broker:8883", Password: "p"}, 0},
		{mqtt.Options{URL: "tcp://broker:1883"}, 0},
		{mqtt.Options{URL: "tcp://broker:1883", Password: "p"}, 1},
		{mqtt.Options{URL: "ssl://broker:8883", TLS: &tls.Config{InsecureSkipVerify: true}}, 1},
	} {
		if got := mqtt.Warnings(c.o); len(got) != c.want {
			t.Errorf("%s: got %q, want %d", c.o.URL, got, c.want)
		}
	}
}
