/*
 * The init program of the booted kernel: loads the modules in /modules in the order of their names, runs every
 * program in /reproducers, says with which status each ended, and restarts the machine, which ends QEMU.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void each(const char *folder, void (*act)(const char *path, const char *name))
{
	struct dirent **entries;
	int count = scandir(folder, &entries, visible, alphasort);

	for (int i = 0; i < count; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		act(path, entries[i]->d_name);
	}
}

/* kvm-intel and kvm-amd are both there, and one of them must fail. */
static void load(const char *path, const char *name)
{
	int file = open(path, O_RDONLY);

	(void)name;
	syscall(SYS_finit_module, file, "", 0);
	close(file);
}

static void run(const char *path, const char *name)
{
	int status;
	pid_t child;

	printf("== %s\n", name);
	child = fork();
	if (child == 0) {
		execl(path, path, (char *)NULL);
		_exit(3);
	}
	waitpid(child, &status, 0);
	printf("== %s: status %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : 3);
}

int main(void)
{
	struct utsname system;

	setvbuf(stdout, NULL, _IONBF, 0);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	uname(&system);
	printf("== kernel %s\n", system.release);
	each("/modules", load);
	each("/reproducers", run);
	sync();
	reboot(RB_AUTOBOOT);
	return 1;
}
