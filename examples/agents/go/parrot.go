// An agent in Go: says back what you said, and stops when you talk over it. docs/link.md describes the protocol.
//
//	go run . 127.0.0.1:8765 &
//	voicegate serve --agent ws://127.0.0.1:8765/
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
)

const headerBytes, pcm16At24000, preRollBytes = 24, 3, 24000 * 2 * 300 / 1000

type call struct {
	heard     []byte
	isTalking bool
}

func frame(number uint32, pcm []byte) []byte {
	header := binary.BigEndian.AppendUint32(nil, number)
	header = binary.BigEndian.AppendUint32(header, uint32(len(pcm)))
	return append(append(header, pcm16At24000, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255), pcm...)
}

func link(socket *socket) {
	for calls := map[uint32]*call{}; ; {
		message, isText, err := socket.receive()
		if err != nil {
			return
		}
		for frames := message; !isText && len(frames) >= headerBytes; { // Frames, one after another.
			end := headerBytes + int(binary.BigEndian.Uint32(frames[4:]))
			if it := calls[binary.BigEndian.Uint32(frames)]; it != nil && frames[8] == pcm16At24000 {
				it.heard = append(it.heard, frames[headerBytes:end]...)
				if !it.isTalking && len(it.heard) > preRollBytes { // Speech is noticed when it has begun.
					it.heard = append([]byte{}, it.heard[len(it.heard)-preRollBytes:]...)
				}
			}
			frames = frames[end:]
		}
		var event struct {
			Type string
			Call uint32
		}
		if !isText || json.Unmarshal(message, &event) != nil {
			continue
		}
		switch event.Type {
		case "hello":
			_ = socket.send(text, []byte(`{"type": "hello", "version": 1, "formats": ["pcm16/24000"]}`))
		case "call.started":
			calls[event.Call] = &call{}
			_ = socket.send(text, []byte(fmt.Sprintf(`{"type": "detect_speech", "call": %d}`, event.Call)))
		case "speech.started":
			calls[event.Call].isTalking = true
		case "turn.ended":
			_ = socket.send(binaryData, frame(event.Call, calls[event.Call].heard))
			calls[event.Call] = &call{}
		case "interrupted":
			fmt.Printf("interrupted: %s\n", message)
		case "call.ended":
			delete(calls, event.Call)
		}
	}
}

func main() {
	log.Fatal(serve(os.Args[1], os.Getenv("VOICEGATE_LINK_KEY"), link))
}
