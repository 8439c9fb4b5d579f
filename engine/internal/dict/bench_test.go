package dict

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Benchmarks use redis-benchmark's keys, key:%012d (16 bytes), with values of 3
// bytes, in random order. 10 million keys need an environment variable, so
// that a quick run stays quick.

var benchSizes = []int{1_000, 1_000_000, 10_000_000}

const keySize = 16

// benchKeys returns n keys end to end, and the same in random order: what is looked
// up is read sequentially, as from a socket, so that only the dict misses the cache.
func benchKeys(b *testing.B, n int) (keys, shuffled []byte) {
	if n > 1_000_000 && os.Getenv("REDSCOPE_BENCH_LARGE") == "" {
		b.Skip("set REDSCOPE_BENCH_LARGE=1 for 10 million keys")
	}
	keys = make([]byte, n*keySize)
	for i := range n {
		benchKey(keys[i*keySize:], i)
	}
	shuffled = make([]byte, n*keySize)
	for i, j := range rand.New(rand.NewPCG(1, 1)).Perm(n) {
		benchKey(shuffled[i*keySize:], j)
	}
	return keys, shuffled
}

func benchKey(k []byte, i int) {
	copy(k, "key:000000000000")
	for at := keySize - 1; i > 0; at-- {
		k[at] = byte('0' + i%10)
		i /= 10
	}
}

func filled(b *testing.B, keys []byte) *Dict {
	d := New(newArena(b, 0))
	for i := 0; i < len(keys); i += keySize {
		if _, err := d.Add(keys[i:i+keySize], []byte("xyz"), 0); err != nil {
			b.Fatal(err)
		}
	}
	for d.Rehash(1000) {
	}
	return d
}

func sized(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range benchSizes {
		b.Run(strings.TrimSuffix(strings.Replace(strconv.Itoa(n), "000000", "M", 1), "000"), func(b *testing.B) { f(b, n) })
	}
}

var sink int

func BenchmarkHash(b *testing.B) {
	keys, _ := benchKeys(b, 1000)
	for i := range b.N {
		sink += int(Hash(keys[i%1000*keySize:][:keySize]))
	}
}

func BenchmarkFind(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		d := filled(b, keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			if d.Find(k) == 0 {
				b.Fatal("missing")
			}
		}
	})
}

func BenchmarkFindMiss(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		d := filled(b, keys)
		for i := 0; i < len(shuffled); i += keySize {
			shuffled[i] = 'K'
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			if d.Find(k) != 0 {
				b.Fatal("found")
			}
		}
	})
}

func BenchmarkSetValue(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		d := filled(b, keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			if _, err := d.SetValue(d.Find(k), []byte("abc")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Add includes growing from nothing and finding the key absent first, as SET does.
func BenchmarkAdd(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		_, shuffled := benchKeys(b, n)
		d := New(newArena(b, 0))
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			if j == n {
				b.StopTimer()
				d.Clear()
				b.StartTimer()
				j = 0
			}
			k := shuffled[j*keySize:][:keySize]
			j++
			h := Hash(k)
			if d.FindHash(h, k) != 0 {
				b.Fatal("found")
			}
			if _, err := d.AddHash(h, k, []byte("xyz"), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Delete empties the dict, shrinking included; refilling is not counted.
func BenchmarkDelete(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		d := filled(b, keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			if j == n {
				b.StopTimer()
				d = filled(b, keys)
				b.StartTimer()
				j = 0
			}
			k := shuffled[j*keySize:][:keySize]
			j++
			if !d.Delete(k) {
				b.Fatal("missing")
			}
		}
	})
}

// BenchmarkPrefetch looks up batches of 16 keys with some work for each in between, as
// a command does: it keeps the processor from running ahead into the next lookup.
func BenchmarkPrefetch(b *testing.B) {
	const batch = 16
	for _, mode := range []string{"work-only", "off", "on"} {
		b.Run(mode, func(b *testing.B) {
			sized(b, func(b *testing.B, n int) {
				keys, shuffled := benchKeys(b, n)
				d := filled(b, keys)
				var hashes [batch]uint64
				b.ResetTimer()
				for i, j := 0, 0; i < b.N; i += batch {
					if j += batch; j+batch > n {
						j = 0
					}
					k := shuffled[j*keySize:]
					for q := range hashes {
						hashes[q] = Hash(k[q*keySize:][:keySize])
						if mode == "on" {
							d.Prefetch(hashes[q])
						}
					}
					for q := range hashes {
						if mode == "on" {
							d.PrefetchEntry(hashes[q])
						}
					}
					for q := range hashes {
						x := 1.0
						for range 100 {
							x = x*1.0001 + 1
						}
						sink += int(x)
						if mode != "work-only" {
							sink += int(d.FindHash(hashes[q], k[q*keySize:][:keySize]))
						}
					}
				}
			})
		})
	}
}

func filledMap(keys []byte) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(keys); i += keySize {
		m[string(keys[i:i+keySize])] = []byte("xyz")
	}
	return m
}

func BenchmarkGoMapFind(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		m := filledMap(keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			if m[string(k)] == nil {
				b.Fatal("missing")
			}
		}
	})
}

func BenchmarkGoMapFindMiss(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		m := filledMap(keys)
		for i := 0; i < len(shuffled); i += keySize {
			shuffled[i] = 'K'
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			if m[string(k)] != nil {
				b.Fatal("found")
			}
		}
	})
}

func BenchmarkGoMapSetValue(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		m := filledMap(keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			k := shuffled[j*keySize:][:keySize]
			if j++; j == n {
				j = 0
			}
			copy(m[string(k)], "abc")
		}
	})
}

func BenchmarkGoMapAdd(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		_, shuffled := benchKeys(b, n)
		m := map[string][]byte{}
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			if j == n {
				j = 0
				m = map[string][]byte{}
			}
			k := shuffled[j*keySize:][:keySize]
			j++
			if m[string(k)] != nil {
				b.Fatal("found")
			}
			m[string(k)] = []byte("xyz")
		}
	})
}

func BenchmarkGoMapDelete(b *testing.B) {
	sized(b, func(b *testing.B, n int) {
		keys, shuffled := benchKeys(b, n)
		m := filledMap(keys)
		b.ReportAllocs()
		b.ResetTimer()
		for i, j := 0, 0; i < b.N; i++ {
			if j == n {
				b.StopTimer()
				m = filledMap(keys)
				b.StartTimer()
				j = 0
			}
			k := shuffled[j*keySize:][:keySize]
			j++
			delete(m, string(k))
		}
	})
}

// BenchmarkFill shows what the fill of the table does to lookups and to memory: the
// time is of a hit, at 2^16 buckets.
func BenchmarkFill(b *testing.B) {
	const buckets = 1 << 16
	for percent := 40; percent <= 110; percent += 10 {
		n := buckets * bucketSlots * percent / 100
		b.Run(fmt.Sprint(percent), func(b *testing.B) {
			keys, shuffled := benchKeys(b, n)
			d := New(newArena(b, 0))
			d.tables[0], _ = d.newTable(buckets)
			d.PauseRehash()
			for i := 0; i < len(keys); i += keySize {
				_, _ = d.Add(keys[i:i+keySize], []byte("xyz"), 0)
			}
			b.ResetTimer()
			for i, j := 0, 0; i < b.N; i++ {
				k := shuffled[j*keySize:][:keySize]
				if j++; j == n {
					j = 0
				}
				sink += int(d.Find(k))
			}
			b.ReportMetric(float64(d.children)/buckets, "children/bucket")
			b.ReportMetric(float64((buckets+d.children)*bucketSize)/float64(n), "bucket-bytes/key")
		})
	}
}
