package receivers

import (
	"context"
	"errors"
	"net"
	"time"

	commoncfg "github.com/prometheus/common/config"
)

// maxAnswer is how much is read of a connection, in bytes. Alertmanager's notifiers read answers to their end.
const maxAnswer = 1 << 20

var errTooMuch = errors.New("the answer is too long")

// bounded makes connections that end life after they were made and give maxAnswer bytes. With keep-alives disabled each serves one
// request, so even a notifier that knows no context (telegram) gets neither more bytes nor more time than that.
func bounded(dial DialFunc, life time.Duration) commoncfg.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		end := time.Now().Add(life)
		ctx, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := c.SetDeadline(end); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return &conn{Conn: c, left: maxAnswer, end: end}, nil
	}
}

// conn is read by one goroutine, as net/http does.
type conn struct {
	net.Conn
	left int
	end  time.Time
}

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *conn) SetDeadline(t time.Time) error      { return c.Conn.SetDeadline(c.sooner(t)) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.Conn.SetReadDeadline(c.sooner(t)) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.sooner(t)) }

func (c *conn) sooner(t time.Time) time.Time {
	if t.IsZero() || t.After(c.end) {
		return c.end
	}
	return t
}
