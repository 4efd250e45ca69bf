package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/client"
	"github.com/tokiflow/tokiflow/client/wrap"
	"github.com/tokiflow/tokiflow/core/record"
)

// clientFlags are the options of the commands that send pings.
type clientFlags struct {
	BaseURL     string         `name:"base-url" aliases:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (also --url)."`
	PingTimeout model.Duration `default:"5s" placeholder:"DURATION" help:"How long one attempt may take."`
	PingGiveUp  model.Duration `default:"15s" placeholder:"DURATION" help:"How long a ping is repeated while the server cannot be reached."`
}

func (f clientFlags) client() (*client.Client, error) {
	c, err := client.New(client.Options{
		BaseURL: f.BaseURL, Attempt: time.Duration(f.PingTimeout), GiveUp: time.Duration(f.PingGiveUp),
		UserAgent: "tokiflow/" + version(),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

type pingCmd struct {
	Target   string  `arg:"" optional:"" name:"key" help:"Ping key of the monitor (a UUID), or project key/slug."`
	Key      string  `placeholder:"KEY" help:"The same as the argument."`
	Kind     string  `enum:"success,start,fail,log" default:"success" placeholder:"KIND" help:"What the ping says: success, start, fail or log."`
	ExitCode int     `default:"-1" placeholder:"N" help:"Exit status of the run, 0 to 255, in place of a kind; -1: none."`
	RID      string  `name:"rid" placeholder:"UUID" help:"Run id, which pairs the start and the end of a run."`
	Duration float64 `default:"-1" placeholder:"SECONDS" help:"How long the run took, where the server is not to measure it; -1: it does."`
	Body     string  `placeholder:"TEXT" help:"What to send along; - reads it from stdin."`
	Create   bool    `help:"Make the monitor if the project has none of that slug."`

	clientFlags `embed:""`
}

// Help is shown by ping --help.
func (pingCmd) Help() string {
	return `It prints the server's answer and the ping's id, and leaves with status 1 if the server has not taken the ping.

Examples:

    tokiflow ping 0190f9a4-7c3e-7c6d-9f43-0123456789ab
    tokiflow ping --key my-project/backup --kind start
    make backup; tokiflow ping --key my-project/backup --exit-code $?
    df -h | tokiflow ping --key my-project/disk --kind log --body -`
}

// Run sends the ping.
func (p *pingCmd) Run(ctx context.Context, e environment) error {
	ping, err := p.ping(e.stdin)
	if err != nil {
		return err
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilSignal(ctx)
	defer stop()
	answer, err := c.Send(ctx, ping)
	if err != nil {
		return fmt.Errorf("the ping was not taken: %w", err)
	}
	_, err = fmt.Fprintln(e.stdout, strings.TrimSpace(answer.Text+" "+answer.PingID))
	return err
}

// ping is what the flags say.
func (p *pingCmd) ping(stdin io.Reader) (client.Ping, error) {
	target, err := oneKey(p.Target, p.Key)
	if err != nil {
		return client.Ping{}, err
	}
	kind, _ := record.ParsePingKind(p.Kind)
	ping := client.NewPing(target, kind)
	ping.ExitCode, ping.Create, ping.Body = p.ExitCode, p.Create, []byte(p.Body)
	if p.Duration >= 0 {
		ping.Duration = time.Duration(p.Duration * float64(time.Second))
	}
	if p.RID != "" {
		if ping.RID, err = uuid.Parse(p.RID); err != nil {
			return client.Ping{}, usageError{fmt.Errorf("--rid %q: must be a UUID", p.RID)}
		}
	}
	if err := ping.Check(); err != nil {
		return client.Ping{}, usageError{err}
	}
	if p.Body == "-" {
		if ping.Body, err = io.ReadAll(io.LimitReader(stdin, 10<<20)); err != nil {
			return client.Ping{}, fmt.Errorf("reading the body from stdin: %w", err)
		}
	}
	return ping, nil
}

// oneKey returns the ping key given as argument, or else the one of the flag or its variable.
func oneKey(argument, flag string) (string, error) {
	key := argument
	if key == "" {
		key = flag
	}
	if key == "" {
		return "", usageError{fmt.Errorf("no ping key: give --key with a monitor's UUID, or with project key/slug")}
	}
	return key, nil
}

type execCmd struct {
	Key      string   `placeholder:"KEY" help:"Ping key of the monitor (a UUID), or project key/slug."`
	RID      string   `name:"rid" placeholder:"UUID" help:"Run id of this run. Without it a new one is made."`
	Create   bool     `help:"Make the monitor if the project has none of that slug."`
	NoOutput bool     `help:"Do not send the tail of the output; the job then writes to the same files and terminal as without tokiflow."`
	Command  []string `arg:"" optional:"" passthrough:"partial" help:"The command and its arguments."`

	clientFlags `embed:""`
}

// Help is shown by exec --help.
func (execCmd) Help() string {
	return `The job's input, output and signals pass through, and its exit status is passed on: 128+n where signal n ended it, 126 or 127 where it could not be run. A server that cannot be reached does not delay the job; after the job's end the report is repeated for --ping-give-up at most, and then one line on stderr says what was not reported. Status 125 means that the command line was wrong and the job was not run.

Where tokiflow is in the foreground of a terminal the job stays in its process group; elsewhere the job gets a process group of its own and every signal goes to the whole group.

Examples:

    tokiflow exec --key 0190f9a4-7c3e-7c6d-9f43-0123456789ab -- /usr/local/bin/backup --full
    tokiflow exec --key my-project/report --url https://ping.example.org -- sh -c 'make report && make upload'

In a crontab:

    BASE_URL=https://ping.example.org
    0 3 * * * tokiflow exec --key my-project/backup -- /usr/local/bin/backup`
}

// Run runs the job and leaves with its exit status.
func (x *execCmd) Run(ctx context.Context, e environment) error {
	args := x.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return usageError{fmt.Errorf("no command: give it after --")}
	}
	key, err := oneKey("", x.Key)
	if err != nil {
		return err
	}
	if err := client.NewPing(key, record.Start).Check(); err != nil {
		return usageError{err}
	}
	var rid uuid.UUID
	if x.RID != "" {
		if rid, err = uuid.Parse(x.RID); err != nil {
			return usageError{fmt.Errorf("--rid %q: must be a UUID", x.RID)}
		}
	}
	c, err := x.client()
	if err != nil {
		return err
	}
	defer c.Close()
	code := wrap.Run(ctx, wrap.Options{
		Sender: c, Target: key, Create: x.Create, RID: rid, Args: args, NoOutput: x.NoOutput,
		Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr,
	})
	if code != 0 {
		return statusError(code)
	}
	return nil
}
