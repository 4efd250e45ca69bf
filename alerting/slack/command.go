package slack

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/fault"
)

// verb is what /pulse is asked to do.
type verb string

const (
	verbHelp    verb = "help"
	verbStatus  verb = "status"
	verbList    verb = "list"
	verbPause   verb = "pause"
	verbResume  verb = "resume"
	verbSilence verb = "silence"
	verbAck     verb = "ack"
)

// command is what was typed after /pulse.
type command struct {
	verb    verb
	org     string        // of several that use the workspace: which; "": not said
	name    string        // of the monitor, or the text to list by
	length  time.Duration // of a silence
	comment string
}

const (
	maxCommand = 1000                 // bytes
	maxSilence = 365 * 24 * time.Hour // by command
)

const usage = "*What /pulse does*\n" +
	"`/pulse status` how many monitors are up, late, down or paused, and what is wrong\n" +
	"`/pulse list [text]` monitors, or those whose name has the text\n" +
	"`/pulse pause NAME` expect nothing of a monitor until it is resumed\n" +
	"`/pulse resume NAME`\n" +
	"`/pulse silence NAME 1h [comment]` no messages about a monitor for so long (30m, 4h, 1d, 1h30m)\n" +
	"`/pulse ack NAME` say that you are on it\n" +
	"A part of the name is enough if only one monitor has it. A name with a length of time in it goes in quotes: `/pulse silence \"backup 1h\" 30m`.\n" +
	"Where several organisations use this workspace, write which first: `/pulse org:acme status`."

func wrongCommand(text string) error { return fault.New(fault.Invalid, text) }

// parseCommand reads what was typed. The error says what to type, and is safe to show.
func parseCommand(text string) (command, error) {
	if len(text) > maxCommand || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return command{}, wrongCommand("That is too long, or not text.")
	}
	words := split(text)
	var c command
	if len(words) > 0 && !words[0].quoted {
		if org, ok := cutPrefixFold(words[0].text, "org:"); ok {
			c.org, words = org, words[1:]
			if org == "" && len(words) > 0 && words[0].quoted { // org:"Acme Inc"
				c.org, words = words[0].text, words[1:]
			}
			if c.org == "" {
				return command{}, wrongCommand("Write the organisation behind org: — as `org:acme`.")
			}
		}
	}
	if len(words) == 0 {
		c.verb = verbHelp
		return c, nil
	}
	c.verb = verb(strings.ToLower(words[0].text))
	rest := words[1:]
	switch c.verb {
	case verbHelp, verbStatus:
		return c, nil
	case verbList:
		c.name = join(rest)
		return c, nil
	case verbPause, verbResume, verbAck:
		if c.name = join(rest); c.name == "" {
			return command{}, wrongCommand("Which monitor? Write `/pulse " + string(c.verb) + " NAME`.")
		}
		return c, nil
	case verbSilence:
		return parseSilence(c, rest)
	}
	return command{}, wrongCommand("There is no `" + plain(strings.ReplaceAll(string(c.verb), "`", "'"), 40) + "`. Write `/pulse help`.")
}

// parseSilence reads NAME LENGTH [COMMENT].
func parseSilence(c command, rest []word) (command, error) {
	const want = "Write `/pulse silence NAME 1h [comment]`."
	if len(rest) == 0 {
		return command{}, wrongCommand("Which monitor, and for how long? " + want)
	}
	for i := 1; i < len(rest); i++ {
		if rest[i].quoted {
			continue
		}
		length, err := model.ParseDuration(strings.ToLower(rest[i].text))
		if err != nil {
			continue
		}
		c.name, c.length, c.comment = join(rest[:i]), time.Duration(length), join(rest[i+1:])
		switch {
		case c.name == "":
			return command{}, wrongCommand("Which monitor? " + want)
		case c.length <= 0 || c.length > maxSilence:
			return command{}, wrongCommand("A silence lasts between a moment and a year: 30m, 4h, 1d.")
		}
		return c, nil
	}
	return command{}, wrongCommand("For how long? As 30m, 4h or 1d. " + want)
}

// word is one of what was typed; in quotes it may have spaces.
type word struct {
	text   string
	quoted bool
}

// split takes a line apart at spaces outside of quotes. Slack likes to make quotes curly. A quote that is not closed ends with the line.
func split(text string) []word {
	var out []word
	var b strings.Builder
	open := false
	flush := func(quoted bool) {
		if b.Len() > 0 {
			out = append(out, word{b.String(), quoted})
		}
		b.Reset()
	}
	for _, r := range text {
		switch {
		case r == '"' || r == '“' || r == '”' || r == '„':
			flush(open)
			open = !open
		case !open && (r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\u00a0'):
			flush(false)
		default:
			b.WriteRune(r)
		}
	}
	flush(open)
	return out
}

func join(words []word) string {
	parts := make([]string, len(words))
	for i, w := range words {
		parts[i] = w.text
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
