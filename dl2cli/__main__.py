"""`python -m dl2cli`: the same program as `dl2`, in the form that torchrun launches."""

from dl2cli.cli.main import main

if __name__ == "__main__":
    main()
