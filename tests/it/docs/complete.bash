# complete.bash FILE WORD...: what bash would offer for the last word.
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_fd3
printf '%s\n' "${COMPREPLY[@]}"
