/*
 * An NMI whose vector lies in guest memory without a slot. KVM cannot deliver it, and is to say so by
 * KVM_EXIT_INTERNAL_ERROR with KVM_INTERNAL_ERROR_DELIVERY_EV. The guest is in real mode, its vector table
 * is at c0000h, where there is nothing, and it has read there before.
 *
 * Status: 0 if KVM says so, 1 if not, 3 if this cannot run.
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

#define NOTHING 0xc0000 /* guest-physical, no slot */

static const unsigned char code[] = { /* at 1000h, CS and SS 0, DS at NOTHING */
	0xa0, 0x08, 0x00, /* mov al, [8]	KVM_EXIT_MMIO */
	0xe6, 0x10,	  /* out 10h, al	the host raises an NMI */
	0x41,		  /* inc cx */
	0x41,		  /* inc cx */
	0xe6, 0x11,	  /* out 11h, al */
	0xf4,		  /* hlt */
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

int main(void)
{
	struct sigaction action = { .sa_handler = wake }; /* without SA_RESTART */
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	char *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = 0x10000, .userspace_addr = (unsigned long)memory };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu;

	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(memory + 0x1000, code, sizeof(code));
	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = NOTHING;
	sregs.ds.selector = NOTHING >> 4;
	sregs.idt.base = NOTHING;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	sigaction(SIGALRM, &action, NULL);

	printf("expected: KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_DELIVERY_EV\n");
	for (;;) {
		alarm(10);
		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			if (errno != EINTR)
				check(-1, "KVM_RUN");
			check(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
			printf("seen: KVM_RUN had not returned after 10 s, RIP %llxh, CX %llu\n", regs.rip, regs.rcx);
			return 1;
		}
		if (run->exit_reason == KVM_EXIT_MMIO) {
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
		} else if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x10) {
			check(ioctl(vcpu, KVM_NMI, 0), "KVM_NMI");
		} else if (run->exit_reason == KVM_EXIT_IO) {
			check(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
			printf("seen: the interrupted program ran on to OUT %xh, CX %llu\n", run->io.port, regs.rcx);
			return 1;
		} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
			printf("seen: KVM_EXIT_INTERNAL_ERROR, suberror %u\n", run->internal.suberror);
			return run->internal.suberror != KVM_INTERNAL_ERROR_DELIVERY_EV;
		} else {
			printf("seen: exit reason %u\n", run->exit_reason);
			return 1;
		}
	}
}
