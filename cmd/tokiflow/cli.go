package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. The environment variables, the help, the completions and docs/configuration.md are all
// made from it.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database's schema up to date, then leave."`
	Ping       pingCmd       `cmd:"" help:"Send one ping."`
	Exec       execCmd       `cmd:"" help:"Run a job and report its start, its end and its output."`
	Schedule   scheduleCmd   `cmd:"" help:"Look at schedules."`
	Rules      rulesCmd      `cmd:"" help:"Check, test and upload recording and alerting rules."`
	Alerting   alertingCmd   `cmd:"" help:"Check, try and upload the alerting configuration."`
	Bench      benchCmd      `cmd:"" help:"Put load on a server and measure it."`
	Doctor     doctorCmd     `cmd:"" help:"Look for what would keep the server from running well."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print the completion script of a shell."`
	Reference  referenceCmd  `cmd:"" hidden:"" help:"Print docs/configuration.md."`
}

// newParser makes the parser of c. Whatever is bound here the commands can ask for in Run.
func newParser(c *cli, e environment, more ...kong.Option) (*kong.Kong, error) {
	options := []kong.Option{
		kong.Name("tokiflow"),
		kong.Description("Tokiflow watches jobs that must run, and tells people when they do not."),
		kong.Writers(e.stdout, e.stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(describe),
		kong.ExplicitGroups(groups()),
		kong.Resolvers(fromEnvironment(e)),
		kong.Bind(e),
	}
	return kong.New(c, append(options, more...)...)
}

// variable is the one rule by which an option's environment variable is named: --database-url is DATABASE_URL. Only
// --help has none.
func variable(f *kong.Flag) string {
	if f.Name == "help" {
		return ""
	}
	return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// commands returns the node and all below it, in order.
func commands(node *kong.Node) []*kong.Node {
	all := []*kong.Node{node}
	for _, child := range node.Children {
		all = append(all, commands(child)...)
	}
	return all
}

// describe is the help text of one flag or argument: the text, then the default and the environment variable.
func describe(v *kong.Value) string {
	if v.Flag == nil || variable(v.Flag) == "" {
		return v.Help
	}
	more := "$" + variable(v.Flag)
	if v.Default != "" {
		more = "default " + v.Default + ", " + more
	}
	return strings.TrimSuffix(v.Help, ".") + " (" + more + ")."
}

// secret marks an option whose value may also be read from the file that NAME_FILE names, and is never printed.
func secret(v *kong.Value) bool { return v.Tag.Has("secret") }

// fromEnvironment reads an option that is not on the command line from its environment variable. One that is set but
// empty counts as not set. Of a secret, NAME_FILE may name the file that holds it.
func fromEnvironment(e environment) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		name := variable(flag)
		if value, _ := e.lookup(name); value != "" {
			return value, nil
		}
		if !secret(flag.Value) {
			return nil, nil
		}
		file, _ := e.lookup(name + "_FILE")
		if file == "" {
			return nil, nil
		}
		content, err := e.readFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", name, err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	})
}
