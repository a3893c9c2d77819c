"""Who talks to whom: per actor a machine that decides and a shell that acts."""
