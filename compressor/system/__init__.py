"""The machine: processes, processors, hardware, progress, folders, files of the user."""
