package bpf

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// deepFrames is the .eh_frame of testdata/deep as gcc 12 and GNU ld 2.40 made it,
// linked at deepFramesAddr.
const deepFramesAddr = 0x20c0

func deepFrames(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/deep/eh_frame")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestUnwindRows(t *testing.T) {
	rows, err := unwindRows(deepFrames(t), deepFramesAddr, 0x1000, unwindNone)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint32]unwindRow{ // as readelf --debug-dump=frames-interp prints it
		0x1000:    {Kind: unwindNone},
		0x1020:    {CFA: 2, Kind: unwindSP},
		0x1029:    {CFA: 3, Kind: unwindSP},
		0x1030:    {CFA: 11, Kind: unwindPLT},
		0x10c7:    {CFA: 1, Kind: unwindSP},
		0x1180:    {Kind: unwindEnd},
		0x11a1:    {Kind: unwindEnd},
		0x11a2:    {Kind: unwindNone},
		0x12d0:    {CFA: 1, Kind: unwindSP},
		0x12d1:    {CFA: 2, Kind: unwindSP, FP: 2},
		0x1338:    {CFA: 4, Kind: unwindSP, FP: 2},
		0x133d:    {CFA: 1, Kind: unwindSP, FP: 2},
		0xfffffff: {Kind: unwindNone},
	} {
		got := lookupRow(rows, addr-0x1000)
		if got.PC = 0; got != want {
			t.Errorf("%#x: %+v, want %+v", addr, got, want)
		}
	}
}

// The same tables as readelf makes of what is on this machine: a program, C
// libraries, assembly with expressions.
func TestUnwindRowsAgreeWithReadelf(t *testing.T) {
	require.Tool(t, "gcc") // readelf comes with it
	paths := []string{require.Redis(t), buildDeep(t, "-mavx2", "-O3")}
	for _, pattern := range []string{"/lib/*/libc.so.6", "/lib/*/libcrypto.so.3", "/lib/*/libjemalloc.so.2"} {
		found, _ := filepath.Glob(pattern)
		paths = append(paths, found...)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := openImage(path, path)
			if err != nil {
				t.Fatal(err)
			}
			defer b.close()
			if b.elf.Machine != elf.EM_X86_64 {
				t.Skip("tables are for x86-64")
			}
			base, rows, err := b.unwindRows()
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) < 10 || !slices.IsSortedFunc(rows, func(x, y unwindRow) int { return int(x.PC) - int(y.PC) }) {
				t.Fatalf("%d rows, or not sorted", len(rows))
			}
			// It fails, after the last line, where it finds fault with another section.
			out, err := exec.Command("readelf", "--debug-dump=frames-interp", path).Output()
			if len(out) == 0 {
				t.Fatal(err)
			}
			checked, unknown, wrong := 0, map[string]int{}, 0
			var columns []string
			signal := false
			for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
				f := strings.Fields(sc.Text())
				switch {
				case len(f) > 3 && (f[3] == "CIE" || f[3] == "FDE"):
					// readelf does not name the augmentation of an FDE's CIE; the
					// signal's trampoline is the one with all registers in expressions.
					columns, signal = nil, false
				case len(f) > 1 && f[0] == "LOC":
					columns = f
					signal = len(f) > 15
				case len(columns) > 0 && len(f) == len(columns):
					addr, err := strconv.ParseUint(f[0], 16, 64)
					if err != nil || addr < base {
						continue // a CIE's
					}
					got := lookupRow(rows, uint32(addr-base))
					if ok, known := sameRow(got, columns, f, signal); !ok {
						if wrong++; wrong < 10 {
							t.Errorf("%+v for %v %v", got, columns, f)
						}
					} else if !known {
						unknown[f[1]]++
					}
					checked++
				}
			}
			n := 0
			for _, u := range unknown {
				n += u
			}
			t.Logf("%d rows, %d checked, not known: %v", len(rows), checked, unknown)
			// A few instructions at the beginning of a function that aligns its stack,
			// or is assembly, have their CFA in a register that is not followed.
			if checked < len(rows)/2 || n > 5+checked/50 {
				t.Errorf("%d rows checked of %d, %d unknown", checked, len(rows), n)
			}
		})
	}
}

// sameRow compares a row with a line of readelf's. known is false for a row that
// says that it does not know, which is never wrong.
func sameRow(got unwindRow, columns, line []string, signal bool) (ok, known bool) {
	column := func(name, absent string) string {
		if i := slices.Index(columns, name); i >= 0 {
			return line[i]
		}
		return absent
	}
	cfa, fp, ra := line[1], column("rbp", "u"), column("ra", "u")
	switch got.Kind {
	case unwindNone:
		return true, false
	case unwindEnd:
		return ra == "u", true
	case unwindSignal:
		return signal && cfa == "exp", true
	case unwindPLT, unwindDerefFP, unwindDerefSP:
		if cfa != "exp" {
			return false, true
		}
	case unwindSP:
		if cfa != fmt.Sprintf("rsp+%d", 8*int(got.CFA)) {
			return false, true
		}
	case unwindFP:
		if cfa != fmt.Sprintf("rbp+%d", 8*int(got.CFA)) {
			return false, true
		}
	default:
		return false, true
	}
	switch got.FP {
	case fpSame:
		ok = fp == "u" || fp == "s"
	case fpAtFP:
		ok = fp == "exp"
	case fpUnknown:
		ok = strings.HasPrefix(fp, "r") || fp == "exp" || fp == "vexp"
	default:
		ok = fp == fmt.Sprintf("c-%d", 8*int(got.FP))
	}
	return ok && ra == "c-8", true
}

func TestUnwindRowsOfDamage(t *testing.T) {
	whole := deepFrames(t)
	for name, data := range map[string][]byte{
		"cut":                   whole[:len(whole)-8],
		"length beyond the end": append([]byte{0xff, 0xff, 0, 0}, whole[4:]...),
		"no common entry":       whole[0x18:],
		"instruction":           bytes.Replace(whole, []byte{0x0c, 7, 8}, []byte{0x3f, 7, 8}, 1),
		"64-bit length":         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0},
	} {
		if rows, err := unwindRows(data, deepFramesAddr, 0x1000, unwindNone); err == nil {
			t.Errorf("%s: no error, %d rows", name, len(rows))
		}
	}
}

func FuzzUnwindRows(f *testing.F) {
	whole := deepFrames(f)
	f.Add(whole, uint64(deepFramesAddr), uint64(0x1000))
	f.Add(whole[0x30:], uint64(deepFramesAddr), uint64(0))
	f.Add([]byte{}, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, addr, base uint64) {
		rows, err := unwindRows(data, addr, base, unwindNone)
		if err != nil {
			return
		}
		if len(rows) == 0 || rows[0].PC != 0 || len(rows) > len(data)+1 {
			t.Fatalf("%d rows of %d bytes", len(rows), len(data))
		}
		for i := 1; i < len(rows); i++ {
			if rows[i].PC <= rows[i-1].PC {
				t.Fatalf("row %d: %+v after %+v", i, rows[i], rows[i-1])
			}
		}
	})
}
