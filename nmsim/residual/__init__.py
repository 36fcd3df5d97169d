"""What closed forms lack of measured times, learned: regions, trees and their file."""
