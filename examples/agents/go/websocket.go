// As much of WebSocket (RFC 6455) as a server needs, with nothing but the standard library.

package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

const text, binaryData, closing, ping, pong = 1, 2, 8, 9, 10

const maxMessageBytes = 32 << 20

type socket struct {
	conn   net.Conn
	reader *bufio.Reader
}

// serve has connections handled that show the key, if there is one.
func serve(address, key string, handle func(*socket)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("ws://%s/\n", listener.Addr())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key != "" && r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, "a key is wanted", http.StatusUnauthorized)
		} else if socket, err := upgrade(w, r); err == nil {
			defer socket.conn.Close()
			handle(socket)
		}
	}))
}

// upgrade takes over an HTTP connection.
func upgrade(w http.ResponseWriter, r *http.Request) (*socket, error) {
	hijacker, ok := w.(http.Hijacker)
	if !ok || r.Header.Get("Sec-WebSocket-Key") == "" {
		http.Error(w, "a WebSocket is wanted", http.StatusBadRequest)
		return nil, errors.New("no WebSocket")
	}
	digest := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(digest[:])+"\r\n\r\n")
	return &socket{conn, buffered.Reader}, err
}

// receive returns the next message and whether it is text; pings are answered on the way.
func (s *socket) receive() (message []byte, isText bool, err error) {
	for {
		var head [14]byte
		if _, err = io.ReadFull(s.reader, head[:2]); err != nil {
			return
		}
		length, mask := uint64(head[1]&0x7F), head[10:14]
		if extended := map[uint64]int{126: 2, 127: 8}[length]; extended > 0 {
			if _, err = io.ReadFull(s.reader, head[10-extended:10]); err != nil {
				return
			}
			length = binary.BigEndian.Uint64(head[2:10])
		}
		if length > maxMessageBytes-uint64(len(message)) || head[1]&0x80 == 0 {
			return nil, false, errors.New("too long, or not masked")
		}
		if _, err = io.ReadFull(s.reader, mask); err != nil {
			return
		}
		data := make([]byte, length)
		if _, err = io.ReadFull(s.reader, data); err != nil {
			return
		}
		for i := range data {
			data[i] ^= mask[i&3]
		}
		switch opcode := head[0] & 0xF; opcode {
		case ping:
			err = s.send(pong, data)
		case pong:
		case closing:
			_ = s.send(closing, data)
			return nil, false, io.EOF
		default: // Text, binary, or more of either.
			message, isText = append(message, data...), isText || opcode == text
			if head[0]&0x80 != 0 {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// send writes one message; only the goroutine that receives may call it.
func (s *socket) send(opcode byte, data []byte) error {
	head := make([]byte, 10)
	head[0], head[1] = 0x80|opcode, 127
	binary.BigEndian.PutUint64(head[2:], uint64(len(data)))
	switch {
	case len(data) < 126:
		head, head[1] = head[:2], byte(len(data))
	case len(data) < 1<<16:
		head, head[1] = head[:4], 126
		binary.BigEndian.PutUint16(head[2:], uint16(len(data)))
	}
	_, err := s.conn.Write(append(head, data...))
	return err
}
