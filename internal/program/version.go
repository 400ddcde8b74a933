package program

import "runtime/debug"

// Version says which build this is: the module's version ("v1.4.0", or "devel" when it was built
// from a working tree) and the revision of the source, with "+changed" when the tree held changes
// that were not committed, or "unknown" when the build did not record it.
func Version() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel", "unknown"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) (version, revision string) {
	version, revision = info.Main.Version, "unknown"
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	changed := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				changed = "+changed"
			}
		}
	}
	return version, revision + changed
}
