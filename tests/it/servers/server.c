/* Takes its two sockets as sd_listen_fds_with_names(3) hands them, says READY=1, answers HTTP. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static int wrong(const char *what)
{
	fprintf(stderr, "wrong: %s\n", what);
	return 1;
}

static void answer(int client)
{
	char request[4096] = "", text[128];
	size_t length = 0;
	while (!strstr(request, "\r\n\r\n")) {
		ssize_t got = read(client, request + length, sizeof request - 1 - length);
		if (got <= 0)
			return;
		request[length += (size_t)got] = 0;
	}
	int size = snprintf(text, sizeof text,
			    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npid=%d;", getpid());
	if (write(client, text, (size_t)size) != size)
		wrong("write");
}

int main(int argc, char **argv)
{
	char **names = NULL;
	if (argc != 2 || sd_listen_fds_with_names(1, &names) != 2)
		return wrong("sd_listen_fds_with_names");
	if (strcmp(names[0], "web") || strcmp(names[1], "control") || names[2])
		return wrong("the names");
	if (sd_is_socket_inet(SD_LISTEN_FDS_START, AF_INET, SOCK_STREAM, 1, 0) != 1)
		return wrong("sd_is_socket_inet");
	if (sd_is_socket_unix(SD_LISTEN_FDS_START + 1, SOCK_STREAM, 1, argv[1], 0) != 1)
		return wrong("sd_is_socket_unix");
	if (sd_listen_fds(0) != 0)
		return wrong("the variables are still there");
	if (sd_notify(0, "READY=1\nSTATUS=serving") <= 0)
		return wrong("sd_notify");
	if (sd_notify_barrier(0, 5 * 1000 * 1000) <= 0)
		return wrong("sd_notify_barrier");
	for (;;) {
		int client = accept(SD_LISTEN_FDS_START, NULL, NULL);
		if (client < 0)
			return wrong("accept");
		answer(client);
		close(client);
	}
}
