package mail

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// boundConn is a connection that lives no longer than its context, whatever deadlines are set on it.
type boundConn struct {
	net.Conn
	ctx  context.Context // of the one call that it serves
	stop func() bool
}

func bind(ctx context.Context, conn net.Conn) *boundConn {
	c := &boundConn{Conn: conn, ctx: ctx}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return c
}

// SetDeadline sets a deadline, unless the context has ended.
func (c *boundConn) SetDeadline(t time.Time) error {
	err := c.Conn.SetDeadline(t)
	if c.ctx.Err() != nil {
		return c.Conn.SetDeadline(time.Unix(1, 0))
	}
	return err
}

// end closes the connection, if it is not closed yet.
func (c *boundConn) end() {
	c.stop()
	_ = c.Close() // a second time, where all went well
}

func offers(list []string, mechanism string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, mechanism) })
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
