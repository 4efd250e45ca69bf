// Command tokiflow watches jobs that must run: it is the server, the client that jobs use, and the tools around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules know their time zones on machines that have no zone files

	"github.com/alecthomas/kong"
)

// The exit statuses of tokiflow itself. exec leaves with its job's.
const (
	exitFailed = 1   // the command was understood and failed
	exitUsage  = 2   // the command line was not understood
	exitExec   = 125 // exec's own: the job was not run. As env, nohup and timeout have it
)

func main() {
	e := environment{
		lookup: os.LookupEnv, readFile: os.ReadFile,
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}
	os.Exit(e.run(context.Background(), os.Args[1:]))
}

// environment is what the program gets from outside; a test hands in its own.
type environment struct {
	lookup   func(name string) (string, bool) // environment variables
	readFile func(name string) ([]byte, error)
	stdin    *os.File
	stdout   *os.File
	stderr   *os.File
}

// statusError makes the program leave with a status of its own, and says nothing.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in the command line that only the command itself can see.
type usageError struct{ error }

// run parses the command line, runs the command and returns the exit status.
func (e environment) run(ctx context.Context, args []string) int {
	var c cli
	left := -1 // the status with which kong's own flags, as --help, want to leave
	parser, err := newParser(&c, e, kong.Exit(func(code int) { left = max(left, code) }))
	if err != nil {
		panic(err) // the definition of the command line is wrong: a test sees it first
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if left >= 0 {
		return left
	}
	if err != nil {
		return e.misunderstood(args, parsed, err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run()
	var status statusError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		return e.misunderstood(args, parsed, err)
	}
	e.complain(e.stderr, err)
	return exitFailed
}

// misunderstood says what is wrong with the command line and where to read more.
func (e environment) misunderstood(args []string, parsed *kong.Context, err error) int {
	e.complain(e.stderr, err)
	command := "tokiflow"
	if failed, ok := errors.AsType[*kong.ParseError](err); ok {
		parsed = failed.Context
	}
	if parsed != nil && parsed.Selected() != nil {
		command = parsed.Selected().FullPath()
	}
	_, _ = fmt.Fprintf(e.stderr, "Run \"%s --help\" for the commands, flags and examples.\n", command)
	if args[0] == "exec" {
		return exitExec
	}
	return exitUsage
}

// complain prints an error as one block that begins with the program's name.
func (e environment) complain(w io.Writer, err error) {
	_, _ = fmt.Fprintf(w, "tokiflow: %s\n", strings.TrimSpace(err.Error()))
}

// untilSignal returns a context that ends with the first signal that asks the program to end; the second one has its
// usual effect.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
