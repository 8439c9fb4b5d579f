// Package crc64 computes the checksum that ends RDB files and the payloads of
// DUMP: CRC-64/REDIS, the polynomial of David Jones, reflected, with neither an
// initial nor a final inversion, so that the sum of nothing is 0 and sums chain.
//
// It never allocates. hash/crc64 would fit but for that: with a table that is not
// one of its own it makes 16 KB of helper tables for each long input.
package crc64

import (
	"encoding/binary"
	"hash/crc64"
)

// jones is the polynomial 0xad93d23594c935a9 with its bits reversed, which is how
// hash/crc64 writes one.
const jones = 0x95ac9329ac4bc9b5

// tables[k][b] is the effect of byte b with k bytes behind it (slicing by eight).
var tables = makeTables()

func makeTables() *[8]crc64.Table {
	var t [8]crc64.Table
	t[0] = *crc64.MakeTable(jones)
	for b := range t[0] {
		crc := t[0][b]
		for k := 1; k < len(t); k++ {
			crc = t[0][byte(crc)] ^ crc>>8
			t[k][b] = crc
		}
	}
	return &t
}

// Update returns the checksum of p after what crc is the checksum of; of nothing,
// that is 0.
func Update(crc uint64, p []byte) uint64 {
	t := tables
	for ; len(p) >= 8; p = p[8:] {
		crc ^= binary.LittleEndian.Uint64(p)
		crc = t[7][byte(crc)] ^ t[6][byte(crc>>8)] ^ t[5][byte(crc>>16)] ^ t[4][byte(crc>>24)] ^
			t[3][byte(crc>>32)] ^ t[2][byte(crc>>40)] ^ t[1][byte(crc>>48)] ^ t[0][crc>>56]
	}
	for _, b := range p {
		crc = t[0][byte(crc)^b] ^ crc>>8
	}
	return crc
}
