/*
 * An NMI handler executes HLT, and another NMI comes, before or behind it. NMIs are blocked until the handler's
 * IRET, so that it stays pending and the processor halted. The guest is in real mode, with an in-kernel local APIC.
 *
 * Status: 0 if the processor stays halted, 1 if it goes on, 3 if this cannot run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char program[] = { /* at 1000h, all segments at 0 */
	0xe6, 0x10, /* out 10h, al	the host raises an NMI */
	0x90,	    /* nop */
	0xf4,	    /* hlt */
};
static const unsigned char nmi[] = { /* at 1100h */
	0xe6, 0x12, /* out 12h, al	the host may raise another NMI */
	0xf4,	    /* hlt		or here */
	0xe6, 0x11, /* out 11h, al	must not be reached */
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

static void wake(int signal)
{
	(void)signal;
}

static int run_for(int seconds, int vcpu)
{
	int result;

	alarm(seconds);
	result = ioctl(vcpu, KVM_RUN, 0);
	if (result < 0 && errno != EINTR)
		check(result, "KVM_RUN");
	alarm(0);
	return result;
}

static void expect_out(int vcpu, const struct kvm_run *run, int port)
{
	if (run_for(60, vcpu) < 0 || run->exit_reason != KVM_EXIT_IO || run->io.port != port) {
		fprintf(stderr, "OUT %xh was not reached\n", port);
		exit(3);
	}
}

static void show(int vcpu, const char *when)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state state;

	check(ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
	check(ioctl(vcpu, KVM_GET_MP_STATE, &state), "KVM_GET_MP_STATE");
	printf("%s: %s, NMIs %s, %u pending\n", when, state.mp_state == KVM_MP_STATE_HALTED ? "halted" : "running",
	       events.nmi.masked ? "blocked" : "not blocked", events.nmi.pending);
}

/* Whether the processor goes on behind the HLT, with the second NMI before it or behind it. */
static int goes_on(int kvm, int before)
{
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	char *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = 0x10000, .userspace_addr = (unsigned long)memory };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu;

	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(memory + 0x1000, program, sizeof(program));
	memcpy(memory + 0x1100, nmi, sizeof(nmi));
	memcpy(memory + 2 * 4, "\x00\x11\x00\x00", 4);
	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");

	expect_out(vcpu, run, 0x10);
	check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
	expect_out(vcpu, run, 0x12);
	if (before)
		check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
	if (run_for(2, vcpu) == 0) {
		fprintf(stderr, "exit reason %u before the HLT or without an NMI behind it\n", run->exit_reason);
		exit(3);
	}
	show(vcpu, "  in the handler's HLT");
	if (!before)
		check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
	if (run_for(2, vcpu) < 0) {
		show(vcpu, "  two seconds later");
		return 0;
	}
	printf("  exit reason %u, port %xh, behind the HLT\n", run->exit_reason, run->io.port);
	show(vcpu, "  there");
	return 1;
}

int main(void)
{
	struct sigaction action = { .sa_handler = wake }; /* without SA_RESTART */
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	int before, behind;

	sigaction(SIGALRM, &action, NULL);
	printf("the second NMI comes before the HLT:\n");
	before = goes_on(kvm, 1);
	printf("it comes behind the HLT:\n");
	behind = goes_on(kvm, 0);
	printf("expected: the processor stays halted, in both cases\n");
	printf("seen: it %s in the first, %s in the second\n", before ? "goes on" : "stays halted",
	       behind ? "goes on" : "stays halted");
	return before || behind;
}
