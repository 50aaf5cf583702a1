/*
 * An IRET at the end of an NMI handler loads TF. It must be set behind the IRET, also if a second NMI has come in
 * the meantime and is delivered there. The guest is in real mode and runs twice, without and with a second NMI.
 *
 * Status: 0 if TF stays, 1 if it is lost, 3 if this cannot run.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char program[] = { /* at 1000h, all segments at 0 */
	0xe6, 0x10, /* out 10h, al	the host raises an NMI */
	0x90,	    /* nop		the NMI handler returns here */
	0x90,	    /* nop		a trap comes here */
	0xe6, 0x11, /* out 11h, al	no trap has come */
	0xf4,	    /* hlt */
};
static const unsigned char nmi[] = { /* at 1100h */
	0x89, 0xe5,			    /* mov bp, sp */
	0x43,				    /* inc bx */
	0x83, 0xfb, 0x02,		    /* cmp bx, 2 */
	0x74, 0x08,			    /* je second */
	0xe6, 0x12,			    /* out 12h, al	the host may raise another NMI */
	0x81, 0x4e, 0x04, 0x00, 0x01,	    /* or word [bp + 4], 100h	TF in the frame */
	0xcf,				    /* iret */
	0x8b, 0x46, 0x04,		    /* second: mov ax, [bp + 4] */
	0xe7, 0x13,			    /* out 13h, ax	the flags that were pushed */
	0xcf,				    /* iret */
};
static const unsigned char trap[] = { /* at 1200h */
	0xe6, 0x14, /* out 14h, al */
	0xf4,	    /* hlt */
};

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

/* Whether TF was set behind the first IRET. */
static int has_tf(int kvm, int two)
{
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	char *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = 0x10000, .userspace_addr = (unsigned long)memory };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu, pushed = -1;

	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(memory + 0x1000, program, sizeof(program));
	memcpy(memory + 0x1100, nmi, sizeof(nmi));
	memcpy(memory + 0x1200, trap, sizeof(trap));
	memcpy(memory + 1 * 4, "\x00\x12\x00\x00", 4);
	memcpy(memory + 2 * 4, "\x00\x11\x00\x00", 4);
	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");

	printf("%s:\n", two ? "two NMIs" : "one NMI");
	for (;;) {
		check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
		if (run->exit_reason != KVM_EXIT_IO) {
			fprintf(stderr, "exit reason %u\n", run->exit_reason);
			exit(3);
		}
		switch (run->io.port) {
		case 0x10:
			check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
			break;
		case 0x12:
			if (two)
				check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
			break;
		case 0x13:
			pushed = *(unsigned short *)((char *)run + run->io.data_offset);
			printf("  the second NMI pushes FLAGS %04xh\n", pushed);
			break;
		default:
			if (two && pushed < 0) {
				fprintf(stderr, "the second NMI did not come behind the IRET\n");
				exit(3);
			}
			printf("  behind the IRET a single-step trap %s\n", run->io.port == 0x14 ? "comes" : "does not come");
			return run->io.port == 0x14 && (!two || (pushed & 0x100));
		}
	}
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	int without, with;

	printf("expected: TF is set behind the IRET, in both cases\n");
	without = has_tf(kvm, 0);
	with = has_tf(kvm, 1);
	printf("seen: TF is %s with one NMI, %s with two\n", without ? "set" : "lost", with ? "set" : "lost");
	if (!without)
		return 3; /* Then it is something else. */
	return !with;
}
