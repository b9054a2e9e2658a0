"""What cannot work is refused before it costs anything; `sense` says what is asked when."""
