"""The native core of dl2: everything that exists to be fast. `_core` is the C++ extension."""
