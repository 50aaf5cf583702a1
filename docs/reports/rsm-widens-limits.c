/*
 * FS has a limit of 2 MiB less 1, in pages. An SMI comes, and its handler does nothing but RSM. FS must be as before.
 *
 * Status: 0 if it is, 1 if not, 3 if this cannot run.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char program[] = { /* at 1000h, all segments but FS at 0 */
	0xe6, 0x10, /* out 10h, al	the host raises an SMI */
	0xe6, 0x11, /* out 11h, al */
	0xf4,	    /* hlt */
};
static const unsigned char handler[] = { /* at 38000h, the SMI handler after a reset */
	0x0f, 0xaa, /* rsm */
};

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(3);
	}
	return result;
}

static unsigned int fs_limit(int vcpu)
{
	struct kvm_sregs sregs;

	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	return sregs.fs.limit;
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	char *memory = mmap(NULL, 0x40000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = 0x40000, .userspace_addr = (unsigned long)memory };
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	unsigned int before, after, saved;
	struct kvm_sregs sregs;
	struct kvm_run *run;
	int vcpu;

	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) <= 0) {
		fprintf(stderr, "this KVM has no SMM\n");
		return 3;
	}
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	slot.slot = 1 << 16; /* the same memory in SMM */
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	memcpy(memory + 0x1000, program, sizeof(program));
	memcpy(memory + 0x38000, handler, sizeof(handler));
	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.fs.limit = 0x1fffff;
	sregs.fs.g = 1;
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");

	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x10)
		return 3;
	before = fs_limit(vcpu);
	check(ioctl(vcpu, KVM_SMI, 0), "KVM_SMI");
	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x11) {
		fprintf(stderr, "exit reason %u after the SMI\n", run->exit_reason);
		return 3;
	}
	after = fs_limit(vcpu);
	memcpy(&saved, memory + 0x3ff3c, 4); /* FS.limit in the state-save area without long mode */
	printf("before the SMI: FS.limit %08xh; saved by it: %08xh\n", before, saved);
	printf("expected: FS.limit %08xh\nseen: FS.limit %08xh\n", before, after);
	return after != before;
}
