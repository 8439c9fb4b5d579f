package bpf

import (
	"debug/elf"
	"strings"
	"testing"
)

func TestFrameless(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine elf.Machine
		code    string // instructions separated by commas
		want    string // for each instruction: y when no frame is set up there
	}{
		{"Go", elf.EM_X86_64, // cmp; jbe; push %rbp; mov; sub; add; pop %rbp; ret
			"49 3b 66 10, 76 18, 55, 48 89 e5, 48 83 ec 08, 48 83 c4 08, 5d, c3", "yyynnnny"},
		{"leaf", elf.EM_X86_64, // L: add %rbx,%rax; dec %rcx; jne L; ret
			"48 01 d8, 48 ff c9, 75 f8, c3", "yyyy"},
		{"leaf with AVX", elf.EM_X86_64, // vmovdqu (%rsi),%ymm0; vmovdqu %ymm0,(%rdi); vzeroupper; ret
			"c5 fe 6f 06, c5 fe 7f 07, c5 f8 77, c3", "yyyy"},
		{"system call", elf.EM_X86_64, // mov %rdi,%rdx; syscall; ret
			"48 89 fa, 0f 05, c3", "yyy"},
		{"C without frame pointer", elf.EM_X86_64, // test; sub $8,%rsp; add $8,%rsp; ret
			"48 85 ff, 48 83 ec 08, 48 83 c4 08, c3", "yyny"},
		{"unknown instruction", elf.EM_X86_64, // (06 is not an instruction in 64-bit mode)
			"48 85 ff, 06, c3", "nny"},
		{"Go", elf.EM_AARCH64, // ldr x16,[x28,#16]; cmp sp,x16; b.ls; str x30,[sp,#-80]!; stur x29,[sp,#-8]; sub x29,sp,#8; ldur; ldr x30,[sp],#80; ret
			"90 0b 40 f9, ff 63 30 eb, c9 02 00 54, fe 0f 1b f8, fd 83 1f f8, fd 23 00 d1, fd 83 5f f8, fe 07 45 f8, c0 03 5f d6", "yyyynnnny"},
		{"leaf", elf.EM_AARCH64, // add x0,x0,x1; ret
			"00 00 01 8b, c0 03 5f d6", "yy"},
		{"calls", elf.EM_AARCH64, // bl .+64; ret
			"10 00 00 94, 00 00 01 8b", "yn"},
	} {
		code := unhex(t, c.code)
		got, pos := "", 0
		for inst := range strings.SplitSeq(c.code, ",") {
			if frameless(c.machine, code, pos) {
				got += "y"
			} else {
				got += "n"
			}
			pos += len(strings.Fields(inst))
		}
		if got != c.want {
			t.Errorf("%s, %v: %s, want %s", c.name, c.machine, got, c.want)
		}
	}
	if frameless(elf.EM_X86_64, []byte{0xc3}, 1) || frameless(elf.EM_X86_64, nil, -1) || frameless(elf.EM_386, []byte{0xc3}, 0) {
		t.Error("true for an offset outside, or another machine")
	}
}

// Encodings as GNU as writes them.
func TestVectorLength(t *testing.T) {
	for code, name := range map[string]string{
		"c5 fe 6f 06":                "vmovdqu (%rsi),%ymm0",
		"c5 fe 6f 4e 20":             "vmovdqu 0x20(%rsi),%ymm1",
		"c5 fe 7f 84 17 00 fe ff ff": "vmovdqu %ymm0,-0x200(%rdi,%rdx,1)",
		"c5 fe 6f 04 d5 00 01 00 00": "vmovdqu 0x100(,%rdx,8),%ymm0",
		"c5 fe 6f 05 00 01 00 00":    "vmovdqu 0x100(%rip),%ymm0",
		"c5 f8 77":                   "vzeroupper",
		"c4 e2 7d 78 c0":             "vpbroadcastb %xmm0,%ymm0",
		"c4 e3 7d 39 c1 01":          "vextracti128 $0x1,%ymm0,%xmm1",
		"c5 fd d7 c1":                "vpmovmskb %ymm1,%eax",
		"c5 fd 70 c1 00":             "vpshufd $0x0,%ymm1,%ymm0",
		"62 f1 fe 48 6f 06":          "vmovdqu64 (%rsi),%zmm0",
		"62 f1 fe 48 7f 44 17 ff":    "vmovdqu64 %zmm0,-0x40(%rdi,%rdx,1)",
		"62 f3 7d 48 25 c0 ff":       "vpternlogd $0xff,%zmm0,%zmm0,%zmm0",
		"c5 f5 74 da":                "vpcmpeqb %ymm2,%ymm1,%ymm3",
		"c5 ed 73 f9 04":             "vpslldq $0x4,%ymm1,%ymm2",
		"c4 e2 e0 f2 c8":             "andn %rax,%rbx,%rcx",
	} {
		want := len(unhex(t, code))
		if got := vectorLength(unhex(t, code+" c3 c3 c3 c3 c3 c3")); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
	for _, other := range []string{"", "c5 fe", "48 89 fa 0f 05 c3 c3", "55 48 89 e5 c3 c3 c3"} {
		if got := vectorLength(unhex(t, other)); got != 0 {
			t.Errorf("%q: %d bytes, want none", other, got)
		}
	}
}
