package main

func compareMain([]string) int { return exitUsage }
