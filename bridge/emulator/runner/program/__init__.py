"""The programs behind the stand-in's launchers. Standard library only: they run where `bridge` is not installed."""
