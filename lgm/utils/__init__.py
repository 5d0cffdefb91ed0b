"""What any program needs: files, folders, JSON, the console, threads."""
