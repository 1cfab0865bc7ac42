"""What goes wrong outside the code: damaged files, killed processes, full disks."""
