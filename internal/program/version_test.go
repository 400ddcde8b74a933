package program

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "0f3a"}
	for _, tc := range []struct {
		main              string
		settings          []debug.BuildSetting
		version, revision string
	}{
		{"", nil, "devel", "unknown"},
		{"(devel)", []debug.BuildSetting{revision}, "devel", "0f3a"},
		{"v1.4.0", []debug.BuildSetting{revision, {Key: "vcs.modified", Value: "false"}}, "v1.4.0", "0f3a"},
		{"v1.4.0", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, revision}, "v1.4.0", "0f3a+changed"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: tc.main}, Settings: tc.settings}
		if v, r := versionOf(info); v != tc.version || r != tc.revision {
			t.Errorf("%q %v: got %s %s, want %s %s", tc.main, tc.settings, v, r, tc.version, tc.revision)
		}
	}
	if v, r := Version(); v == "" || r == "" {
		t.Errorf("this binary: got %q %q, want both to say something", v, r)
	}
}
