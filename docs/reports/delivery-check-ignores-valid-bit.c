/*
 * Where KVM must not emulate because an event was being delivered, KVM/SVM looks at the type of that event and not
 * at the bit that says whether there was one. Three guests in real mode:
 *
 *   control  an NMI whose vector lies where there is no memory: KVM gives up, as it must
 *   first    the same with an external interrupt, whose type is 0
 *   second   an NMI that is delivered, and whose handler then reads where there is no memory
 *
 * Status: 0 if the first gives up and the second is an MMIO exit, or if this KVM has no such check; 1 if not; 3 if
 * this cannot run.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOTHING 0xc0000 /* guest-physical, no slot */

static const unsigned char program[] = { /* at 1000h, CS and SS 0, DS at NOTHING */
	0xe6, 0x10, /* out 10h, al	the host raises the event */
	0x41,	    /* inc cx */
	0xe6, 0x11, /* out 11h, al */
	0xf4,	    /* hlt */
};
static const unsigned char handler[] = { /* at 1100h, vector 2 of the table at 0 */
	0xa0, 0x00, 0x00, /* mov al, [0]	KVM_EXIT_MMIO */
	0xf4,		  /* hlt */
};

enum outcome { GIVES_UP, MMIO, RUNS_ON, OTHER };
static const char *const names[] = {
	"KVM_INTERNAL_ERROR_DELIVERY_EV", "KVM_EXIT_MMIO", "the interrupted program runs on", "something else",
};

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

/* The first exit behind the event, for a guest whose vector table is at `table`. */
static enum outcome run_guest(int kvm, unsigned int table, int is_nmi)
{
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	char *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = 0x10000, .userspace_addr = (unsigned long)memory };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 0x202 };
	struct kvm_interrupt interrupt = { .irq = 0x20 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu;

	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(memory + 0x1000, program, sizeof(program));
	memcpy(memory + 0x1100, handler, sizeof(handler));
	memcpy(memory + 2 * 4, "\x00\x11\x00\x00", 4);
	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = NOTHING;
	sregs.ds.selector = NOTHING >> 4;
	sregs.idt.base = table;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");

	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10) {
		fprintf(stderr, "exit reason %u at the first OUT\n", run->exit_reason);
		exit(3);
	}
	if (is_nmi)
		check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
	else
		check(ioctl(vcpu, KVM_INTERRUPT, &interrupt), "KVM_INTERRUPT");
	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	    run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV)
		return GIVES_UP;
	if (run->exit_reason == KVM_EXIT_MMIO)
		return MMIO;
	return run->exit_reason == KVM_EXIT_IO && run->io.port == 0x11 ? RUNS_ON : OTHER;
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	enum outcome control = run_guest(kvm, NOTHING, 1);
	enum outcome first = run_guest(kvm, NOTHING, 0);
	enum outcome second = run_guest(kvm, 0, 1);

	printf("control:  an NMI in delivery: %s\n", names[control]);
	printf("expected: an interrupt in delivery: %s\n", names[GIVES_UP]);
	printf("seen:     an interrupt in delivery: %s\n", names[first]);
	printf("expected: an access behind a delivered NMI: %s\n", names[MMIO]);
	printf("seen:     an access behind a delivered NMI: %s\n", names[second]);
	if (control != GIVES_UP) {
		printf("this KVM does not check whether an event is in delivery\n");
		return 0;
	}
	return first != GIVES_UP || second != MMIO;
}
