package program

import "flag"

// ConfigFlags reads the two flags that every program with a configuration has: the file's path, and
// whether it is only to be checked. synopsis is the first line of the help; more adds the program's
// own flags.
func (e Env) ConfigFlags(name, synopsis string, more ...func(*flag.FlagSet)) (path string, checkOnly bool, err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&path, "config", name+".yaml", "the configuration file")
	flags.BoolVar(&checkOnly, "check", false, "check the configuration and say what it means, then exit")
	for _, add := range more {
		add(flags)
	}
	rest, err := e.Parse(flags, synopsis, e.Args)
	if err == nil && len(rest) > 0 {
		err = Usage("unexpected %q", rest[0])
	}
	return path, checkOnly, err
}
