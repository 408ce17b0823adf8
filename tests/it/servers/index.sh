printf 'Content-Type: text/plain\n\npid=%d;' $PPID
