// A reference for `voicegate bench relay`: a relay in Go in the shape of a published one. One system call for
// each packet, buffers allocated once, reading goroutines locked to their threads, one core; a map finds the flow.
//
//	relay PUBLIC_PORT HOP_PORT TRANSCEIVER_PORT    (0: a free one; all on 127.0.0.1)
//
// It prints {"public": port, "hop": port} when it is ready, and ends with its standard input. Towards the
// transceiver it puts our 24-byte hop header in front; towards clients it goes by the header. Unlike voicegate it
// authenticates nobody, counts nothing and never ends a flow: whoever sends has one.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
)

const (
	header        = 24
	flowLimit     = 1 << 17
	receiveBuffer = 8 << 20
)

func openPort(text string) *net.UDPConn {
	port, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		panic(err)
	}
	conn.SetReadBuffer(receiveBuffer)
	return conn
}

func port(conn *net.UDPConn) int {
	return conn.LocalAddr().(*net.UDPAddr).Port
}

func toTransceivers(public, hop *net.UDPConn, transceiver netip.AddrPort) {
	runtime.LockOSThread()
	flows := make(map[netip.AddrPort]netip.AddrPort)
	packet := make([]byte, header+2048)
	// As in voicegate/wire/hop.py; what is the same for all is written once.
	packet[0], packet[1], packet[18], packet[19] = 0x56, 0x10, 0xff, 0xff
	for {
		length, client, err := public.ReadFromUDPAddrPort(packet[header:])
		if err != nil {
			continue
		}
		destination, ok := flows[client]
		if !ok {
			if len(flows) == flowLimit {
				continue
			}
			destination = transceiver
			flows[client] = destination
		}
		host := client.Addr().As4()
		binary.BigEndian.PutUint16(packet[2:], uint16(length))
		binary.BigEndian.PutUint16(packet[6:], client.Port())
		copy(packet[20:header], host[:])
		hop.WriteToUDPAddrPort(packet[:header+length], destination)
	}
}

func toClients(public, hop *net.UDPConn) {
	runtime.LockOSThread()
	packet := make([]byte, header+2048)
	for {
		size, _, err := hop.ReadFromUDPAddrPort(packet)
		if err != nil || size < header || packet[0] != 0x56 || packet[1] != 0x10 {
			continue
		}
		length := int(binary.BigEndian.Uint16(packet[2:]))
		if size < header+length {
			continue
		}
		host := netip.AddrFrom4([4]byte{packet[20], packet[21], packet[22], packet[23]})
		client := netip.AddrPortFrom(host, binary.BigEndian.Uint16(packet[6:]))
		public.WriteToUDPAddrPort(packet[header:header+length], client)
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	if len(os.Args) != 4 {
		os.Exit(2)
	}
	public, hop := openPort(os.Args[1]), openPort(os.Args[2])
	number, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	transceiver := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(number))
	go toTransceivers(public, hop, transceiver)
	go toClients(public, hop)
	fmt.Printf("{\"public\": %d, \"hop\": %d}\n", port(public), port(hop))
	io.Copy(io.Discard, os.Stdin)
}
