package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

// maxAnswer is how much of a body is read, in bytes.
const maxAnswer = 16 << 20

// answerTimeout is how long an answer is waited for, at most a tenth less.
const answerTimeout = 30 * time.Second

// wire is one kept-alive HTTP/1.1 connection that writes requests made beforehand and reads of an answer only what is
// needed, so that the machine's time goes to the server that is measured. It is not safe for concurrent use.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
	set  time.Time // when the deadline was last put off
}

// answer is what is read of a response.
type answer struct {
	status int
	pingID []byte // valid until the next request
	body   []byte // valid until the next request
	close  bool   // the server closes the connection
}

var errMalformed = errors.New("the answer is no HTTP/1.1")

func dial(ctx context.Context, base *url.URL) (*wire, error) {
	address := base.Host
	if base.Port() == "" {
		address = net.JoinHostPort(base.Hostname(), map[string]string{"http": "80", "https": "443"}[base.Scheme])
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	var conn net.Conn
	var err error
	if base.Scheme == "https" {
		conn, err = (&tls.Dialer{NetDialer: d}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = d.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 4096)}, nil
}

// request is the bytes of a request with the body.
func request(base *url.URL, target string, header []byte, body []byte) []byte {
	method := "GET"
	if len(body) > 0 {
		method = "POST"
	}
	b := make([]byte, 0, 200+len(header)+len(body))
	b = append(b, method+" "+target+" HTTP/1.1\r\nHost: "+base.Host+"\r\nUser-Agent: tokiflow-bench\r\n"...)
	b = append(b, header...)
	if len(body) > 0 {
		b = append(b, "Content-Length: "+strconv.Itoa(len(body))+"\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// exchange sends one request and reads its answer. After an error the connection is of no use.
func (w *wire) exchange(req []byte) (answer, error) {
	if now := time.Now(); now.Sub(w.set) > answerTimeout/10 {
		if err := w.conn.SetDeadline(now.Add(answerTimeout)); err != nil {
			return answer{}, err
		}
		w.set = now
	}
	if _, err := w.conn.Write(req); err != nil {
		return answer{}, err
	}
	return w.read()
}

func (w *wire) read() (answer, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return answer{}, fmt.Errorf("%w: %.60q", errMalformed, line)
	}
	a := answer{close: line[7] == '0'}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return answer{}, fmt.Errorf("%w: %.60q", errMalformed, line)
		}
		a.status = 10*a.status + int(c-'0')
	}
	length, chunked, err := w.head(&a)
	if err != nil {
		return answer{}, err
	}
	return a, w.body(&a, length, chunked)
}

// head reads the headers. length is -1 where none was said.
func (w *wire) head(a *answer) (length int, chunked bool, err error) {
	length = -1
	w.buf = w.buf[:0]
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			a.pingID = w.buf
			return length, chunked, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimLeft(value, " ")
		switch {
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return 0, false, fmt.Errorf("%w: %.60q", errMalformed, line)
			}
		case is(name, "ping-id"):
			w.buf = append(w.buf, value...)
		case is(name, "connection"):
			a.close = a.close || is(value, "close")
		case is(name, "transfer-encoding"):
			chunked = is(value, "chunked")
		}
	}
}

// is reports whether the name is the lower-case word, in whatever case.
func is(name []byte, word string) bool {
	return len(name) == len(word) && (string(name) == word || bytes.EqualFold(name, []byte(word)))
}

// body reads what follows the headers. It is kept behind the ping id in the buffer.
func (w *wire) body(a *answer, length int, chunked bool) error {
	id := len(w.buf)
	switch {
	case a.status == 204 || a.status == 304:
	case chunked:
		all, err := io.ReadAll(io.LimitReader(httputil.NewChunkedReader(w.in), maxAnswer))
		if err != nil {
			return err
		}
		if _, err := w.in.Discard(2); err != nil { // the empty line behind the last chunk
			return err
		}
		w.buf = append(w.buf, all...)
	case length < 0:
		a.close = true // the body ends with the connection, and is of no interest
	default:
		w.buf = append(w.buf, make([]byte, length)...)
		if _, err := io.ReadFull(w.in, w.buf[id:]); err != nil {
			return err
		}
	}
	a.pingID, a.body = w.buf[:id], w.buf[id:]
	return nil
}

func (w *wire) shut() { _ = w.conn.Close() }
